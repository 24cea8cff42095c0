// HopX's JavaScript client, unmodified, against our server. Each case returns what
// tests/official/test_javascript.py compares; one line of JSON is printed for each.
import { Sandbox } from '@hopx-ai/sdk';

const [baseURL, apiKey, staleToken] = process.argv.slice(2);
const door = { baseURL, apiKey };
const LIMIT_MS = 90_000;
// The client prints on its own account; stdout is for results.
const print = process.stdout.write.bind(process.stdout);
console.log = console.error;

const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return { kind: error.name, code: error.code, id: Boolean(error.requestId) };
  }
  return null;
}

async function row(sandbox, id) {
  return (await sandbox.listProcesses()).find((one) => one.process_id === id);
}

async function ended(sandbox, id) {
  for (;;) {
    const found = await row(sandbox, id);
    if (!['queued', 'running'].includes(found.status)) return found;
    await tick(50);
  }
}

async function stream(sandbox, code, options) {
  const found = { stdout: '', stderr: '', frames: 0 };
  for await (const message of sandbox.runCodeStream(code, options)) {
    found.frames += 1;
    if (message.type in found) found[message.type] += message.data;
    if (message.type === 'result') found.code = message.exit_code;
    if (message.type === 'error') found.error = message.code;
    found.last = message.type;
  }
  return found;
}

// Streams 2000 numbers; returns how many came in their places, and in how many frames.
async function counted(sandbox, code) {
  const { stdout, frames, last } = await stream(sandbox, code, {});
  const numbers = stdout.split('\n').slice(0, -1).map(Number);
  return { whole: numbers.length, placed: numbers.filter((n, at) => n === at).length, frames, last };
}

const cases = {
  async life() {
    const one = await Sandbox.create({ template: 'base', envVars: { X: '1' }, ...door });
    const told = await one.commands.run('echo $X');
    await one.pause();
    const paused = (await one.getInfo()).status;
    const again = await Sandbox.connect(one.sandboxId, apiKey, baseURL);
    const resumed = (await again.getInfo()).status;
    const still = await again.commands.run('echo $X');
    await again.setTimeout(600);
    const { timeoutSeconds } = await again.getInfo();
    const listed = (await Sandbox.list(door)).map((each) => each.sandboxId);
    const iterated = [];
    for await (const each of Sandbox.iter(door)) iterated.push(each.sandboxId);
    await one.kill();
    return {
      stdout: told.stdout + still.stdout, paused, resumed, timeoutSeconds,
      listed: listed.includes(one.sandboxId), iterated: iterated.includes(one.sandboxId),
      gone: await refusal(() => one.getInfo()),
      health: (await Sandbox.healthCheck(baseURL)).status,
    };
  },
  async connectToStopped() {
    const one = await Sandbox.create({ template: 'base', ...door });
    const url = `${baseURL}/v1/sandboxes/${one.sandboxId}/stop`;
    await fetch(url, { method: 'POST', headers: { 'X-API-Key': apiKey } });
    const refused = await refusal(() => Sandbox.connect(one.sandboxId, apiKey, baseURL));
    await one.kill();
    return Boolean(refused);
  },
  async refusals() {
    return {
      template: await refusal(() => Sandbox.create({ template: 'code-interpretr', ...door })),
      key: await refusal(() => Sandbox.create({ template: 'base', baseURL, apiKey: 'wrong' })),
    };
  },
  async run(sandbox) {
    const done = await sandbox.commands.run('echo out; echo err >&2; exit 3');
    const options = { env: { X: '1' }, workingDir: '/tmp' };
    const there = await sandbox.commands.run('echo $X; pwd', options);
    const late = await sandbox.commands.run('echo begun; sleep 600', { timeout: 1 });
    return {
      done: [done.stdout, done.stderr, done.exit_code, done.success],
      there: there.stdout, late: [late.stdout, late.exit_code],
      nowhere: await refusal(() => sandbox.commands.run('true', { workingDir: '/workspace/no' })),
    };
  },
  async background(sandbox) {
    const options = { env: { X: '1' }, workingDir: '/tmp', timeout: 600 };
    const good = await sandbox.commands.runBackground('echo $X; pwd', options);
    const bad = await sandbox.commands.run('echo no >&2; exit 3', { background: true });
    const done = await ended(sandbox, good.process_id);
    const failed = await ended(sandbox, bad.process_id);
    return {
      prefix: good.process_id.slice(0, 4), camel: good.processId === good.process_id,
      begun: good.status, done: [done.status, done.exit_code, done.stdout],
      failed: [failed.status, failed.exit_code, failed.stderr],
    };
  },
  async kill(sandbox) {
    const { process_id: id } = await sandbox.commands.runBackground('sleep 600');
    await sandbox.killProcess(id);
    return {
      status: (await row(sandbox, id)).status,
      nobody: await refusal(() => sandbox.killProcess('cmd_nobody')),
    };
  },
  async code(sandbox) {
    const texts = {
      python: 'print(6 * 7)', javascript: 'console.log(6 * 7)', bash: 'echo $((6 * 7))',
    };
    const found = {};
    for (const [language, text] of Object.entries(texts)) {
      const done = await sandbox.runCode(text, { language });
      const { process_id: id } = await sandbox.runCodeBackground(text, { language });
      found[language] = [done.stdout, done.exitCode, (await ended(sandbox, id)).stdout];
    }
    found.ipython = await refusal(() => sandbox.runIpython('1'));
    return found;
  },
  stream: (sandbox) => stream(
    sandbox, 'import sys; print(1); print("e", file=sys.stderr); sys.exit(3)', {},
  ),
  frames: (sandbox) => counted(sandbox, "for n in range(2000): print(f'{n:08191d}')"),
  lines: (sandbox) => counted(
    sandbox, 'import time\nfor n in range(2000): print(n); time.sleep(0.0002)',
  ),
  streamError: (sandbox) => stream(sandbox, '1', { language: 'cobol' }),
  async env(sandbox) {
    await sandbox.env.setAll({ A: '1', B: '2', MY_KEY: 's' });
    await sandbox.env.set('C', '3');
    await sandbox.env.update({ D: '4' });
    await sandbox.env.delete('A');
    const told = await sandbox.commands.run('echo $A-$B-$C-$D-$MY_KEY');
    return { shown: await sandbox.env.getAll(), stdout: told.stdout };
  },
  async files(sandbox) {
    const data = Buffer.from(Array.from({ length: 2560 }, (_, n) => n % 256));
    const found = {};
    for (const name of ['a.txt', 'b & c#+%.txt', 'ä日本.txt']) {
      const path = `/workspace/js/${name}`;
      await sandbox.files.write(path, 'text é\n');
      found[name] = [await sandbox.files.read(path), await sandbox.files.exists(path)];
    }
    await sandbox.files.writeBytes('/workspace/js/bytes', data);
    await sandbox.files.mkdir('/workspace/js/deep');
    const back = await sandbox.files.readBytes('/workspace/js/bytes');
    const down = await sandbox.files.download('/workspace/js/bytes');
    const listed = await sandbox.files.list('/workspace/js');
    await sandbox.files.remove('/workspace/js/bytes');
    return {
      found, bytes: [back.equals(data), Buffer.from(down).equals(data)],
      listed: listed.map((entry) => [entry.name, entry.isDir]),
      removed: await sandbox.files.exists('/workspace/js/bytes'),
      missing: await refusal(() => sandbox.files.read('/workspace/none')),
      outside: await refusal(() => sandbox.files.read('/etc/passwd')),
    };
  },
  async watch(sandbox) {
    const events = [];
    for await (const message of sandbox.watchFiles('/workspace')) {
      if (message.type === 'status') await sandbox.files.write('/workspace/seen.js', 'x');
      if (message.path === '/workspace/seen.js') events.push(message.event);
      if (events.length) break;
    }
    return events;
  },
  async terminal(sandbox) {
    const info = await sandbox.getInfo();
    const socket = await sandbox.terminal.connect();
    let shown = '';
    let code = null;
    sandbox.terminal.resize(socket, 77, 33);
    sandbox.terminal.sendInput(socket, 'stty size; exit 7\n');
    for await (const message of sandbox.terminal.output(socket)) {
      if (message.type === 'output') shown += message.data;
      if (message.type === 'exit') { code = message.code; break; }
    }
    socket.close();
    return { size: shown.includes('33 77'), code, status: info.status };
  },
  async tokens(sandbox) {
    // This client goes on with the token that it had, whatever it was given since.
    const again = await Sandbox.connect(sandbox.sandboxId, apiKey, baseURL);
    const { public_host: host } = await (await fetch(
      `${baseURL}/v1/sandboxes/${sandbox.sandboxId}`, { headers: { 'X-API-Key': apiKey } },
    )).json();
    const stale = await fetch(`${host}/execute/processes`, {
      headers: { Authorization: `Bearer ${staleToken}` },
    });
    return {
      old: (await sandbox.commands.run('echo old')).stdout,
      fresh: (await again.commands.run('echo fresh')).stdout,
      stale: [stale.status, (await stale.json()).code],
    };
  },
  async figures(sandbox) {
    const metrics = await sandbox.getMetricsSnapshot();
    const system = await sandbox.listSystemProcesses();
    return {
      requests: metrics.total_requests > 0, system: system.every((one) => one.pid > 0),
      sessions: await sandbox.getJupyterSessions(),
      cache: (await sandbox.cache.stats()).cache.size,
      desktop: await refusal(() => sandbox.desktop.screenshot()),
    };
  },
};

async function bounded(call) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), LIMIT_MS);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}

const [, , , , , sandboxId] = process.argv;
const sandbox = await Sandbox.connect(sandboxId, apiKey, baseURL);
for (const [name, run] of Object.entries(cases)) {
  let line;
  try {
    line = { name, value: await bounded(run(sandbox)) };
  } catch (error) {
    line = { name, error: `${error.name}: ${error.message}\n${error.stack}` };
  }
  print(`${JSON.stringify(line)}\n`);
}
process.exit(0);
