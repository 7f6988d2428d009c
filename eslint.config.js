// SPDX-License-Identifier: GPL-2.0-or-later
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['out/', 'dist/', 'node_modules/', '.local/'] },
  {
    files: ['agents/**/*.ts', 'test/**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // A promise nobody waits for is a decision nobody sees.
      // tap itself waits for the subtests it was given.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [
            { from: 'package', name: ['PromiseWithSubtest'], package: '@tapjs/core' },
          ],
        },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      // `f: () => T` is checked more strictly than `f(): T`, and may be taken out of its object.
      '@typescript-eslint/method-signature-style': ['error', 'property'],
      // What is taken out of a copy so that the rest is left.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { ignoreRestSiblings: true, varsIgnorePattern: '^_', argsIgnorePattern: '^_' },
      ],
      // Off: "async" without "await" makes a rejection of what is thrown, which is what an interface of
      // promises asks for.
      '@typescript-eslint/require-await': 'off',
      // What was caught is passed on as it is.
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],
      complexity: ['error', 31],
      eqeqeq: 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // Off in tests: methods of tap's `t`, and of fixtures that are made to be taken apart.
      '@typescript-eslint/unbound-method': 'off',
      // Off in tests: they read documents that they made themselves.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      complexity: 'off',
    },
  },
);
