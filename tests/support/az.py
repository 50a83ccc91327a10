#!/usr/bin/env python3
"""A stand-in for the Azure CLI: knows the commands that azure_deploy.sh uses, with the arguments,
the answers and the words of the real one (2.91), and runs what is given to a machine as the agent
there does: bash, named parameters as variables, the last 4 KiB of each stream.

STAND_IN is its folder:
  calls.jsonl  every call as it stands on the command line, with its exit code
  account      there: somebody is logged in
  throttle     a number: so many calls are refused as too many, the last two words of `create` first
  machine      the words before a command that runs on the machine; none: nothing is run, and
               `result` (exit code, then output) is what it says
  www          where an uploaded package is put, to be fetched at `link` + its name
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(os.environ["STAND_IN"])
TAIL = 4096
SCRIPT_LIMIT = 256 * 1024

# The commands, with the arguments that each requires and those that it may have besides. None: a
# flag; "+": one or more values.
OPTIONS = {
    "account show": ({}, {}),
    "vm show": ({"--resource-group": 1, "--name": 1}, {}),
    "vm run-command create": (
        {"--resource-group": 1, "--vm-name": 1, "--name": 1},
        {
            "--location": 1,
            "--script": 1,
            "--protected-parameters": "+",
            "--parameters": "+",
            "--async-execution": 1,
            "--timeout-in-seconds": 1,
        },
    ),
    "vm run-command show": (
        {"--resource-group": 1, "--vm-name": 1, "--name": 1},
        {"--instance-view": None},
    ),
    "vm run-command delete": (
        {"--resource-group": 1, "--vm-name": 1, "--name": 1},
        {"--yes": None},
    ),
    "storage blob upload": (
        {"--account-name": 1, "--container-name": 1, "--name": 1, "--file": 1},
        {"--overwrite": 1, "--no-progress": None, "--auth-mode": 1},
    ),
    "storage blob generate-sas": (
        {"--account-name": 1, "--container-name": 1, "--name": 1},
        {
            "--permissions": 1,
            "--expiry": 1,
            "--https-only": None,
            "--as-user": None,
            "--auth-mode": 1,
            "--full-uri": None,
        },
    ),
    "storage blob delete": (
        {"--account-name": 1, "--container-name": 1, "--name": 1},
        {"--auth-mode": 1},
    ),
}
COMMON = {"--subscription": 1, "--output": 1, "--query": 1, "--only-show-errors": None}


class Refused(Exception):
    """What the real one says, and its exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def from_file(word):
    """`@FILE`, and `NAME=@FILE`, are the text of the file without its last line break."""
    head, equals, rest = word.partition("=")
    name = rest if equals else head
    if not name.startswith("@") or not name[1:]:
        return word
    try:
        text = pathlib.Path(name[1:]).read_text().rstrip("\n")
    except OSError:
        return word
    return head + equals + text if equals else text


def understood(words):
    command = next((c for c in OPTIONS if c.split() == words[: len(c.split())]), None)
    if command is None:
        raise Refused(f"'{' '.join(words[:3])}' is misspelled or not recognized by the system.", 2)
    required, optional = OPTIONS[command]
    known = {**required, **optional, **COMMON}
    found = {}
    rest = words[len(command.split()) :]
    while rest:
        name = rest.pop(0)
        if name not in known:
            raise Refused(f"unrecognized arguments: {name}", 2)
        values = []
        while known[name] is not None and rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
            if known[name] == 1:
                break
        if known[name] is not None and not values:
            raise Refused(f"argument {name}: expected one argument", 2)
        found[name] = values if known[name] == "+" else (values or [True])[0]
    missing = [name for name in required if name not in found]
    if missing:
        raise Refused(f"the following arguments are required: {', '.join(missing)}", 2)
    return command, found


def on_the_machine(script, variables):
    """What the agent does with a script; its exit code and the tails of what it said."""
    prefix = HERE / "machine"
    if not prefix.exists():
        code, _, text = (HERE / "result").read_text().partition("\n")
        return int(code), text, ""
    place = "/var/lib/waagent/run-command-handler/download/run/0/script.sh"
    enter = prefix.read_text().split()
    put = f"mkdir -p {os.path.dirname(place)} && rm -f {place} && cat >{place} && chmod 500 {place}"
    subprocess.run([*enter, "sh", "-c", put], input=script.encode(), check=True)
    basic = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        [*enter, "/bin/bash", "-c", place],
        env={**basic, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    tail = lambda raw: raw[-TAIL:].decode(errors="replace")
    return done.returncode, tail(done.stdout), tail(done.stderr)


def resource(found, view):
    """A run command as Azure describes it: values of protected parameters never come back."""
    group, vm, name = found["--resource-group"], found["--vm-name"], found["--name"]
    machine = f"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/{group}"
    machine += f"/providers/Microsoft.Compute/virtualMachines/{vm}"
    return {
        "asyncExecution": False,
        "errorBlobUri": None,
        "id": f"{machine}/runCommands/{name}",
        "instanceView": view,
        "location": "westeurope",
        "name": name,
        "outputBlobUri": None,
        "parameters": None,
        "protectedParameters": None,
        "provisioningState": "Succeeded",
        "resourceGroup": group,
        "runAsPassword": None,
        "runAsUser": None,
        "tags": None,
        "timeoutInSeconds": 1800,
        "type": "Microsoft.Compute/virtualMachines/runCommands",
    }


def run(command, found):
    if command == "account show":
        return {"id": "00000000-0000-0000-0000-000000000000", "state": "Enabled"}
    if command == "vm show":
        if found["--name"] == "gone":
            raise Refused(
                "(ResourceNotFound) The Resource 'Microsoft.Compute/virtualMachines/gone' under "
                f"resource group '{found['--resource-group']}' was not found.\n"
                "Code: ResourceNotFound",
                3,
            )
        return {"name": found["--name"], "location": "westeurope"}
    run_file = HERE / f"run-{found['--name'].replace('/', '_')}.json"
    if command == "vm run-command create":
        if len(found["--script"]) > SCRIPT_LIMIT:
            raise Refused("(BadRequest) the script is too large")
        variables = dict(p.split("=", 1) for p in found.get("--protected-parameters", []))
        (HERE / "script").write_text(found["--script"])
        (HERE / "variables.json").write_text(json.dumps(variables))
        code, output, error = on_the_machine(found["--script"], variables)
        view = {
            "endTime": "2026-01-31T07:17:52+00:00",
            "error": error,
            "executionMessage": "Execution completed" if code == 0 else f"Execution failed: command terminated with exit status={code}",
            "executionState": "Succeeded" if code == 0 else "Failed",
            "exitCode": code,
            "output": output,
            "startTime": "2026-01-31T07:17:22+00:00",
            "statuses": None,
        }
        run_file.write_text(json.dumps(view))
        return resource(found, None)
    if command == "vm run-command show":
        if not run_file.exists():
            raise Refused("(ResourceNotFound) The run command was not found.", 3)
        view = json.loads(run_file.read_text()) if found.get("--instance-view") else None
        return resource(found, view)
    if command == "vm run-command delete":
        run_file.unlink()
        return None
    name = found["--name"].rsplit("/", 1)[1]
    link = (HERE / "link").read_text().strip() if (HERE / "link").exists() else "https://store.invalid/"
    if command == "storage blob upload":
        www = HERE / "www"
        if www.exists():
            (www / name).write_bytes(pathlib.Path(found["--file"]).read_bytes())
        return {"etag": '"0x8DE60A3B2C1D4E5"', "lastModified": "2026-01-31T07:17:12+00:00"}
    if command == "storage blob generate-sas":
        if not found.get("--as-user") or found.get("--auth-mode") != "login":
            raise Refused("incorrect usage: specify --as-user with --auth-mode login and --expiry.")
        return f"{link}{name}"
    return None


def queried(answer, query):
    """The few expressions that are used; what JMESPath makes of them."""
    if query is None:
        return answer
    if query.startswith("["):
        return [queried(answer, part.strip()) for part in query[1:-1].split(",")]
    for key in query.split("."):
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer


def printed(answer, output):
    if output == "none" or answer is None and output != "tsv":
        return ""
    if output == "tsv":
        rows = answer if isinstance(answer, list) else [answer]
        return "".join(f"{row}\n" for row in rows)
    return json.dumps(answer, indent=2) + "\n"


def main():
    words = sys.argv[1:]
    code = 0
    try:
        command, found = understood([from_file(word) for word in words])
        if not (HERE / "account").exists():
            raise Refused("Please run 'az login' to setup account.")
        throttle = HERE / "throttle"
        left = int(throttle.read_text()) if throttle.exists() else 0
        if command.startswith("vm run-command") and left > 0:
            throttle.write_text(str(left - 1))
            raise Refused(
                "(OperationNotAllowed) The server rejected the request because too many requests "
                "have been received for this subscription.\nCode: OperationNotAllowed\n"
                "Message: The server rejected the request because too many requests have been "
                "received for this subscription.\nException Details:\t(TooManyRequests) "
                '{"operationGroup":"UpdateVM3Min","allowedRequestCount":240,'
                '"measuredRequestCount":252}\n\tCode: TooManyRequests\n\tTarget: UpdateVM3Min'
            )
        answer = run(command, found)
        sys.stdout.write(printed(queried(answer, found.get("--query")), found.get("--output", "json")))
    except Refused as refused:
        sys.stderr.write(f"ERROR: {refused}\n")
        code = refused.code
    with open(HERE / "calls.jsonl", "a") as calls:
        calls.write(json.dumps({"words": words, "code": code}) + "\n")
    sys.exit(code)


main()
