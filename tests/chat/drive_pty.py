"""Runs a command in a pseudo-terminal and talks to it.

    python3 drive_pty.py STEPS.json COMMAND …

STEPS.json: [{"wait": text to wait for, "send": text to type, "pause": seconds before it}, …]. Prints JSON:
everything the command wrote, its exit code (negative: a signal), how far the steps came, and whether
the terminal's modes were afterwards as they had been before.
"""

import json
import os
import pty
import select
import sys
import termios
import time

LIMIT_SECONDS = 60


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        steps = json.load(file)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 40)) if hasattr(termios, "tcsetwinsize") else None
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(master)
        import fcntl
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.execvp(sys.argv[2], sys.argv[2:])
    written, seen, step = b"", 0, 0
    deadline = time.monotonic() + LIMIT_SECONDS
    status = None
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.05)[0]:
            written += os.read(master, 65536)
        while step < len(steps):
            text = written.decode("utf-8", "replace")
            wanted = steps[step].get("wait", "")
            at = text.find(wanted, seen)
            if at < 0:
                break
            seen = at + len(wanted)
            time.sleep(steps[step].get("pause", 0))
            if "signal" in steps[step]:
                os.kill(pid, steps[step]["signal"])
            os.write(master, steps[step].get("send", "").encode("utf-8"))
            step += 1
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
    if status is None:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    while select.select([master], [], [], 0.05)[0]:
        written += os.read(master, 65536)
    after = termios.tcgetattr(slave)
    print(json.dumps({
        "output": written.decode("utf-8", "replace"), "code": status, "steps": step,
        "restored": after[:4] == before[:4],
    }))


main()
