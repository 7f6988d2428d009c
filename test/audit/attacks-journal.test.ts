// SPDX-License-Identifier: GPL-2.0-or-later
import { attack, keys } from './attack.js';
import { journalAttacks } from './journal-attacks.js';

journalAttacks(attack, keys);
