// Checks boards against schema.ts: each board becomes a TypeScript literal, which the compiler rejects if a field is
// missing, unknown or of another type. Deliberately broken boards are checked too; the compiler must reject every one of
// them, otherwise the check proves nothing.

import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { spawnSync } from 'node:child_process';

const [dir, ...files] = process.argv.slice(2);

const first = (board, type) => board.panels.find((panel) => panel.type === type);

// The mutations: what is broken, and how.
const MUTATIONS = {
  'a string as width': (board) => (first(board, 'stat').gridPos.w = '6'),
  'an unknown field in the board': (board) => (board.colour = 'red'),
  'an unknown field in a panel': (board) => (first(board, 'table').heading = 'x'),
  'an unknown option in a panel': (board) => (first(board, 'table').options.showHeading = true),
  'an option of another panel type': (board) => (first(board, 'stat').options.cellHeight = 'sm'),
  'an option with an unknown value': (board) => (first(board, 'stat').options.colorMode = 'loud'),
  'an unknown override': (board) => (first(board, 'table').fieldConfig.overrides[0].properties[0].id = 'custom.loud'),
  'an override of another type': (board) => (first(board, 'table').fieldConfig.overrides[0].properties[1].value = 'wide'),
  'an unknown cell type': (board) => {
    const cells = first(board, 'table').fieldConfig.overrides.flatMap((override) => override.properties);
    cells.find((property) => property.id === 'custom.cellOptions').value = { type: 'loud' };
  },
  'an unknown colour mode': (board) => {
    const override = board.panels.flatMap((panel) => panel.fieldConfig?.overrides ?? []).flatMap((one) => one.properties);
    override.find((property) => property.id === 'color').value.mode = 'loud';
  },
  'a panel without a type': (board) => delete first(board, 'stat').type,
  'a panel of an unknown type': (board) => (first(board, 'stat').type = 'graph'),
  'a panel without an id': (board) => delete first(board, 'stat').id,
  'a panel without a description': (board) => delete first(board, 'stat').description,
  'a query without a refId': (board) => delete first(board, 'stat').targets[0].refId,
  'a query with an unknown field': (board) => (first(board, 'stat').targets[0].step = 15),
  'a query with an unknown format': (board) => (first(board, 'stat').targets[0].format = 'csv'),
  'a transformation without options': (board) => delete first(board, 'table').transformations[0].options,
  'a variable of an unknown type': (board) => (board.templating.list[1].type = 'question'),
  'a variable without a name': (board) => delete board.templating.list[1].name,
  'a variable with an unknown refresh': (board) => (board.templating.list[1].refresh = 'sometimes'),
  'a variable with an unknown field': (board) => (board.templating.list[1].definition = 'x'),
  'a row without panels': (board) => delete first(board, 'row').panels,
  'a row with an unknown field': (board) => (first(board, 'row').folded = true),
  'another schema version': (board) => (board.schemaVersion = 16),
  'a missing uid': (board) => delete board.uid,
};

for (const left of readdirSync(dir).filter((name) => /^board-.*\.ts$/.test(name))) {
  rmSync(join(dir, left));
}

const written = new Map();
function write(board, what) {
  const name = `board-${written.size}.ts`;
  const literal = JSON.stringify(board, null, 1);
  writeFileSync(join(dir, name), `import type { Board } from './schema';\nexport const board: Board = ${literal};\n`);
  written.set(name, what);
}

for (const file of files) {
  const text = readFileSync(file, 'utf8');
  write(JSON.parse(text), { file });
  // The languages have the same structure: it is enough to mutate one of them.
  for (const [broken, mutate] of basename(file).includes('.ru.') ? [] : Object.entries(MUTATIONS)) {
    const board = JSON.parse(text);
    mutate(board);
    if (JSON.stringify(board) === JSON.stringify(JSON.parse(text))) {
      throw new Error(`${file} cannot be mutated to have ${broken}`);
    }
    write(board, { file, broken });
  }
}

const compiler = spawnSync(process.execPath, [join(dir, 'node_modules/typescript/lib/tsc.js'), '-p', dir, '--pretty', 'false'], {
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
let rejected = 0;
for (const [name, { file, broken }] of written) {
  const found = problems.get(name) ?? [];
  if (broken === undefined) {
    if (found.length > 0) {
      fail(`${file} is not a valid Grafana dashboard:\n${found.join('\n')}`);
    } else {
      console.log(`${file}: valid`);
    }
  } else if (found.length === 0) {
    fail(`${file} with ${broken} was not rejected`);
  } else {
    rejected += 1;
  }
}
console.log(`${rejected} broken boards rejected`);
process.exit(failed > 0 ? 1 : 0);
