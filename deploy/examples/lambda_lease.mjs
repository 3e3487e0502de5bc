// A function that works only under the lease of its region: FAILOVERD_LEASE is the address of one or more agents in the VPC
// that run `failoverd agent --component functions --serve 10.0.1.20:7790 …`, comma-separated. "off" asks nobody: for the day of the
// runbook, when failoverd itself is gone.
const agents = process.env.FAILOVERD_LEASE.split(",");

// Throws before anything was done: the event stays in its queue.
export async function mayWork(context) {
  if (process.env.FAILOVERD_LEASE === "off") return;
  // What Lambda leaves us; it ends us then, whatever becomes of us.
  const need = `${context.getRemainingTimeInMillis()}ms`;
  let why = "no agent to ask";
  for (const agent of agents) {
    try {
      const res = await fetch(`http://${agent}/lease?need=${need}`, { signal: AbortSignal.timeout(1000) });
      if (res.ok) return;
      why = await res.text();
    } catch (e) {
      why = String(e);
    }
  }
  throw new Error("no lease: " + why);
}

export async function handler(event, context) {
  for (const record of event.Records) {
    await mayWork(context);
    await work(record.body);
  }
}

async function work(body) {}
