// Compile the contracts: node compile.mjs MODULES [--check]
//
// Writes NAME.json beside each NAME.sol: its runtime bytecode, the selectors of its functions and its ABI. With
// --check it writes nothing and fails when a committed file is not what its source compiles to.
// compile.sh runs it with the compiler from npm.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const [modules, mode] = process.argv.slice(2);
const solc = createRequire(path.join(modules, 'package.json'))('solc');

const names = ['Aggregator', 'FeedProxy'];
const sources = Object.fromEntries(names.map((name) =>
  [`${name}.sol`, { content: fs.readFileSync(path.join(here, `${name}.sol`), 'utf8') }]));
const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: 'shanghai',
  metadata: { appendCBOR: false },   // so that the bytes depend on the source alone
  outputSelection: { '*': { '*': ['abi', 'evm.deployedBytecode.object', 'evm.methodIdentifiers'] } },
};
const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings })));
for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
if ((output.errors ?? []).length > 0) process.exit(1);

let stale = false;
for (const name of names) {
  const { abi, evm } = output.contracts[`${name}.sol`][name];
  const result = JSON.stringify({
    compiler: `solc ${solc.version()}`,
    bytecode: '0x' + evm.deployedBytecode.object,
    selectors: Object.fromEntries(Object.entries(evm.methodIdentifiers).map(([call, id]) => [call, '0x' + id])),
    abi,
  }, null, 1) + '\n';
  const file = path.join(here, `${name}.json`);
  if (mode !== '--check') {
    fs.writeFileSync(file, result);
  } else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== result) {
    console.error(`${name}.json is not what ${name}.sol compiles to; run tests/contracts/compile.sh`);
    stale = true;
  }
}
process.exit(stale ? 1 : 0);
