// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the engines refuse. docs/deploy.md, section 15, says what to do. */
export type EnginesCode =
  | 'ALREADY_PUBLISHED'
  | 'BAD_ARTIFACT'
  | 'BAD_DOCUMENT'
  | 'BAD_FORMULA'
  | 'BAD_METADATA'
  | 'BAD_SOURCE_FILES'
  | 'BAD_SPEC'
  | 'BAD_TREE'
  | 'BUILD_FAILED'
  | 'DEP_WAIT'
  | 'DOWNLOAD_FAILED'
  | 'FETCH_FAILED'
  | 'INSTALL_FAILED'
  | 'LINT_FAILED'
  | 'NOTHING_TO_BUILD'
  | 'NOT_A_PACKAGE'
  | 'NOT_BUILT'
  | 'NOT_DONE_HERE'
  | 'NO_BUILDER'
  | 'NO_BUILD_DEPENDENCIES'
  | 'NO_BUILD_STATE'
  | 'NO_CHANGES'
  | 'NO_CHROOT'
  | 'NO_MIRROR'
  | 'NO_REBUILD'
  | 'NO_SOURCE_PACKAGE'
  | 'NO_SPEC'
  | 'NO_SUCH_STAGE'
  | 'OTHER_BYTES'
  | 'OTHER_COMMIT'
  | 'OTHER_TREE'
  | 'PUBLISH_FAILED'
  | 'SIGN_FAILED'
  | 'SOURCE_NOT_IN_TREE'
  | 'TOO_LARGE'
  | 'TWO_SPECS'
  | 'UNKNOWN_SOURCE_FORMAT'
  | 'UPLOAD_FAILED'
  | 'VERSION_MISMATCH';

export const Refusal: RefusalOf<EnginesCode, EnginesCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<EnginesCode | SharedCode>;
