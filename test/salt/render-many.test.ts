// SPDX-License-Identifier: GPL-2.0-or-later
import { manyEnvironments } from './farms.js';
import { renderCases } from './render-cases.js';

await renderCases(manyEnvironments);
