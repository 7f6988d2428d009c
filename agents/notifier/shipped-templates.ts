// SPDX-License-Identifier: GPL-2.0-or-later
// The texts as shipped. A folder (`templates` in notify.json) replaces each by a file of its name; an empty
// one says nothing at all. How a farm's repositories are called on its users' machines is not known here: a
// farm that wants to say it replaces the text. Plain names are filled in as plain text, what strangers wrote
// as code.

const commentOnUpload = (
  where: string,
  install: string,
): string => `The component \`@COMPONENT@\` (package \`@PACKAGE_NAME@\`) was uploaded to the \`@REPOSITORY@\` repository of @PACKAGE_SET@ @DIST@, Qubes OS @RELEASE_NAME@${where}.
${install}
[Changes included in this update](@GIT_LOG_URL@)
`;

export const shippedTemplates: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'message-status-issue': `Update of \`@COMPONENT@\` to \`@VERSION@\` for Qubes OS @RELEASE_NAME@. The comments below tell what happens to it.

From commit: @SOURCE@

Changes since the last announced version:

@GIT_LOG@

Referenced issues: @ISSUES@
`,
    'message-status-issue-template':
      'Template `@TEMPLATE_NAME@`, version `@VERSION@`, for Qubes OS @RELEASE_NAME@. The comments below tell what happens to it.\n',
    'message-status-issue-iso':
      'Installation image `@ISO_VERSION@` of Qubes OS @RELEASE_NAME@. The comments below tell what happens to it.\n',
    'message-status-commands': `If you are a release manager, sign one of these lines and post it as a comment (\`current\` takes packages that were in testing for @MIN_AGE_DAYS@ days):

@COMMANDS@

You may name fewer distributions, or \`all\`.
`,
    'message-build-built': 'Package `@PACKAGE_NAME@` for @PACKAGE_SET@ @DIST@ was built (@BUILD_LOG@).\n',
    'message-build-failed': `Package \`@PACKAGE_NAME@\` for @PACKAGE_SET@ @DIST@ failed to build (@BUILD_LOG@).

@REASON@
@EXCERPT@
`,
    'message-build-uploaded':
      'Package `@PACKAGE_NAME@` for @PACKAGE_SET@ @DIST@ was uploaded to `@REPOSITORY@` (@BUILD_LOG@).\n',
    'message-build-upload-failed': `Package \`@PACKAGE_NAME@\` for @PACKAGE_SET@ @DIST@ failed to upload (@BUILD_LOG@).

@REASON@
@EXCERPT@
`,
    'message-build-refused': `Package \`@PACKAGE_NAME@\` for @PACKAGE_SET@ @DIST@ was refused for \`@REPOSITORY@\` and stays where it was (@BUILD_LOG@).

@REASON@
`,
    'message-build-withdrawn':
      'Package `@PACKAGE_NAME@` for @PACKAGE_SET@ @DIST@ was withdrawn from @REPOSITORIES@ (@BUILD_LOG@). Who has it installed keeps it until a higher version comes.\n',
    'message-build-withdraw-failed': `Package \`@PACKAGE_NAME@\` for @PACKAGE_SET@ @DIST@ could not be withdrawn: it is still where it was (@BUILD_LOG@).

@REASON@
@EXCERPT@
`,
    'message-command-refused': `The environment @ENVIRONMENT@ refused this command:

@COMMANDS@

@REASON@

Nothing was done, and this signature counts as used. When the cause is gone, sign the line again.
`,
    'message-status-superseded':
      'Superseded by @NEWER@, which is now in every distribution and repository that this issue speaks of.\n',
    'message-withdrawn':
      'The component `@COMPONENT@` (package `@PACKAGE_NAME@`) was withdrawn from @REPOSITORIES@ of @PACKAGE_SET@ @DIST@, Qubes OS @RELEASE_NAME@. A higher version will follow.\n',
    'message-current-testing-host': commentOnUpload(
      '',
      '\nTo test it in dom0, enable its `@REPOSITORY@` repository there and update.\n',
    ),
    'message-current-testing-vm': commentOnUpload(
      '',
      '\nTo test it in a template, enable its `@REPOSITORY@` repository there and update.\n',
    ),
    'message-current-testing-vm-fedora': commentOnUpload(
      '',
      '\nTo test it in a template, enable its `@REPOSITORY@` repository there, then: `sudo dnf upgrade --refresh`\n',
    ),
    'message-current-testing-vm-debian': commentOnUpload(
      '',
      '\nTo test it in a template, enable its `@REPOSITORY@` suite there, then: `sudo apt-get update && sudo apt-get dist-upgrade`\n',
    ),
    'message-stable-host': commentOnUpload(
      ', stable',
      '\nTo install it in dom0: `sudo qubes-dom0-update`, or the Qubes Update tool.\n',
    ),
    'message-stable-vm': commentOnUpload(
      ', stable',
      '\nTo install it, update your templates with the Qubes Update tool.\n',
    ),
  }),
);
