// Owns how boards are held against schema.ts: a board becomes a literal of TypeScript, which the compiler refuses if a
// field is missing, unknown or of another type. So do boards that are spoilt, each in one place; the compiler must refuse
// every one of them, else it would have proved nothing.

import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { spawnSync } from 'node:child_process';

const [place, ...files] = process.argv.slice(2);

const first = (board, type) => board.panels.find((panel) => panel.type === type);

// What is spoilt, and how. A board without such a place returns nothing.
const SPOILT = {
  'a width that is text': (board) => (first(board, 'stat').gridPos.w = '6'),
  'an unknown field of the board': (board) => (board.colour = 'red'),
  'an unknown field of a panel': (board) => (first(board, 'table').heading = 'x'),
  'an unknown option of a panel': (board) => (first(board, 'table').options.showHeading = true),
  'an option of another panel': (board) => (first(board, 'stat').options.cellHeight = 'sm'),
  'an option with an unknown value': (board) => (first(board, 'stat').options.colorMode = 'loud'),
  'an unknown override': (board) => (first(board, 'table').fieldConfig.overrides[0].properties[0].id = 'custom.loud'),
  'an override of another type': (board) => (first(board, 'table').fieldConfig.overrides[0].properties[1].value = 'wide'),
  'an unknown type of cell': (board) => {
    const cells = first(board, 'table').fieldConfig.overrides.flatMap((override) => override.properties);
    cells.find((property) => property.id === 'custom.cellOptions').value = { type: 'loud' };
  },
  'an unknown kind of colour': (board) => {
    const override = board.panels.flatMap((panel) => panel.fieldConfig?.overrides ?? []).flatMap((one) => one.properties);
    override.find((property) => property.id === 'color').value.mode = 'loud';
  },
  'a panel without type': (board) => delete first(board, 'stat').type,
  'a panel of an unknown type': (board) => (first(board, 'stat').type = 'graph'),
  'a panel without id': (board) => delete first(board, 'stat').id,
  'a panel without a description': (board) => delete first(board, 'stat').description,
  'a query without its name': (board) => delete first(board, 'stat').targets[0].refId,
  'a query with an unknown field': (board) => (first(board, 'stat').targets[0].step = 15),
  'a query with an unknown format': (board) => (first(board, 'stat').targets[0].format = 'csv'),
  'a transformation without options': (board) => delete first(board, 'table').transformations[0].options,
  'a variable of an unknown type': (board) => (board.templating.list[1].type = 'question'),
  'a variable without name': (board) => delete board.templating.list[1].name,
  'a variable that refreshes never and a half': (board) => (board.templating.list[1].refresh = 'sometimes'),
  'a variable with an unknown field': (board) => (board.templating.list[1].definition = 'x'),
  'a row without panels': (board) => delete first(board, 'row').panels,
  'a row with an unknown field': (board) => (first(board, 'row').folded = true),
  'another schema': (board) => (board.schemaVersion = 16),
  'no uid': (board) => delete board.uid,
};

for (const left of readdirSync(place).filter((name) => /^board-.*\.ts$/.test(name))) {
  rmSync(join(place, left));
}

const written = new Map();
function write(board, what) {
  const name = `board-${written.size}.ts`;
  const literal = JSON.stringify(board, null, 1);
  writeFileSync(join(place, name), `import type { Board } from './schema';\nexport const board: Board = ${literal};\n`);
  written.set(name, what);
}

for (const file of files) {
  const text = readFileSync(file, 'utf8');
  write(JSON.parse(text), { file });
  // The languages have the same structure: one of them is enough to be spoilt.
  for (const [spoilt, spoil] of basename(file).includes('.ru.') ? [] : Object.entries(SPOILT)) {
    const board = JSON.parse(text);
    spoil(board);
    if (JSON.stringify(board) === JSON.stringify(JSON.parse(text))) {
      throw new Error(`${file} has no place for ${spoilt}`);
    }
    write(board, { file, spoilt });
  }
}

const compiler = spawnSync(process.execPath, [join(place, 'node_modules/typescript/lib/tsc.js'), '-p', place, '--pretty', 'false'], {
  encoding: 'utf8',
  maxBuffer: 1 << 28,
});
const problems = new Map();
let other = [];
for (const line of compiler.stdout.split('\n')) {
  const name = /(?:^|\/)(board-\d+\.ts)\(/.exec(line)?.[1];
  if (name) {
    problems.set(name, [...(problems.get(name) ?? []), line]);
  } else if (/error TS/.test(line)) {
    other.push(line);
  }
}

let failed = 0;
const fail = (text) => {
  failed += 1;
  console.error(text);
};
if (compiler.error || other.length > 0 || ![0, 1, 2].includes(compiler.status)) {
  fail(`the compiler failed: ${compiler.error ?? ''}\n${compiler.stderr}${other.join('\n')}`);
}
let refused = 0;
for (const [name, { file, spoilt }] of written) {
  const found = problems.get(name) ?? [];
  if (spoilt === undefined) {
    if (found.length > 0) {
      fail(`${file} is no dashboard of Grafana:\n${found.join('\n')}`);
    } else {
      console.log(`${file}: fits`);
    }
  } else if (found.length === 0) {
    fail(`${file} with ${spoilt} was not refused`);
  } else {
    refused += 1;
  }
}
console.log(`${refused} spoilt boards refused`);
process.exit(failed > 0 ? 1 : 0);
