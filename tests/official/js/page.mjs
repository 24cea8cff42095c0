// The long example of HopX's page, told anew: three background commands, polled until all have
// ended, by the `processId` that the page reads and the service does not send.
import { Sandbox } from '@hopx-ai/sdk';

const [baseURL, apiKey] = process.argv.slice(2);
const scripts = {
  'process_data.py': "print('1200 rows cleaned')",
  'train_model.py': "print('accuracy 0.93')",
  'generate_report.py': "raise SystemExit('no figures for June')",
};
const sandbox = await Sandbox.create({ template: 'code-interpreter', baseURL, apiKey });
const ids = new Map();
for (const [name, text] of Object.entries(scripts)) {
  await sandbox.files.write(`/workspace/${name}`, text);
  const options = { timeout: 600, env: { TASK_NAME: name } };
  ids.set(name, (await sandbox.commands.runBackground(`python3 ${name}`, options)).processId);
}
let rows;
do {
  rows = new Map((await sandbox.listProcesses()).map((row) => [row.processId, row]));
} while ([...ids.values()].some((id) => ['queued', 'running'].includes(rows.get(id).status)));
for (const [name, id] of ids) {
  const { status, stdout, stderr } = rows.get(id);
  process.stdout.write(`${name} ${status} ${(stdout || stderr).trim()}\n`);
}
await sandbox.kill();
process.exit(0);
