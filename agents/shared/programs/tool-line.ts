// SPDX-License-Identifier: GPL-2.0-or-later
// What a tool printed, as it goes into a log: nothing of it may pass for what we say ourselves, and the
// receiver takes no line over 64 KiB.

/** A longer line is sent in pieces, each but the last marked. */
export const pieceBytes = 32 * 1024;
export const pieceMark = ' [line goes on]';

const space = Buffer.from(' ');
const mark = Buffer.from(pieceMark);

function notOurs(piece: Buffer): Buffer {
  return piece[0] === 0x3e || piece[0] === 0x1b ? Buffer.concat([space, piece]) : piece;
}

/**
 * Where the receiver could show a `>` at the beginning of what a tool said, a space goes before it: only we
 * say how a stage ended. The receiver takes escape sequences away, so what follows one counts as a beginning
 * too. Where a long line is cut, each piece but the first has the space: nobody else's mark can stand there
 * either.
 * @param line without its newline
 */
export function piecesOf(line: Buffer): Buffer[] {
  const pieces = [notOurs(line.subarray(0, pieceBytes))];
  for (let at = pieceBytes; at < line.length; at += pieceBytes) {
    pieces.push(
      Buffer.concat([pieces.pop() as Buffer, mark]),
      Buffer.concat([space, line.subarray(at, at + pieceBytes)]),
    );
  }
  return pieces;
}
