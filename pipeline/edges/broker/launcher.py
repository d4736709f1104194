"""Become a given program, and see to it that it does not outlive the process that asked for it.

Run as a script: ``python launcher.py FOLDER PROGRAM [ARGUMENT...]``. The process forks a watchdog and then replaces
itself with PROGRAM, which so keeps its process id. Standard input is a pipe that the owner holds open. Any byte
on it dismisses the watchdog; its end without a byte means that the owner is gone, in whatever way, kill -9 included:
then the program is killed, and FOLDER is removed unless it is empty text. Only the standard library is used, so
that this starts within milliseconds under ``python -I -S``.
"""

import os
import shutil
import signal
import sys
import time


def main() -> None:
    """Fork the watchdog, then become the program."""
    folder, *command = sys.argv[1:]
    program = os.getpid()
    if os.fork() == 0:
        watch(program, folder)
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(command[0], command)


def watch(program: int, folder: str) -> None:
    """Wait for a word from the owner, or for its end."""
    if os.read(0, 1):
        return
    # A program that has ended is no longer our parent, and its number may belong to somebody else by now.
    while os.getppid() == program:
        os.kill(program, signal.SIGKILL)
        time.sleep(0.01)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
