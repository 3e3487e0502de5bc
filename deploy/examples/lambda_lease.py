"""A function that works only under the lease of its region.

FAILOVERD_LEASE is the address of one or more agents in the VPC that run
`failoverd agent --component functions --serve 10.0.1.20:7790 …`, comma-separated.
"off" asks nobody: for the day of the runbook, when failoverd itself is gone.
"""

import os
import urllib.error
import urllib.request

AGENTS = os.environ["FAILOVERD_LEASE"].split(",")


class NoLease(Exception):
    """Raised before anything was done: the event stays in its queue."""


def may_work(context):
    if AGENTS == ["off"]:
        return
    # What Lambda leaves us; it ends us then, whatever becomes of us.
    need = f"{context.get_remaining_time_in_millis()}ms"
    why = "no agent to ask"
    for agent in AGENTS:
        try:
            with urllib.request.urlopen(f"http://{agent}/lease?need={need}", timeout=1):
                return
        except urllib.error.HTTPError as e:
            why = e.read().decode()
        except OSError as e:
            why = str(e)
    raise NoLease(why)


def handler(event, context):
    for record in event["Records"]:
        may_work(context)
        process(record["body"])


def process(body):
    ...
