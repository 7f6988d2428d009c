// SPDX-License-Identifier: GPL-2.0-or-later
import { oneEnvironment } from './farms.js';
import { renderCases } from './render-cases.js';

await renderCases(oneEnvironment);
