"""`isan check`, as tests run it."""
import json
import subprocess


class Check:
    def __init__(self, target, *arguments, env=None, cwd=None, format="json", preexec=None):
        how = target.how or ["--python", target.python]
        done = subprocess.run([target.isan, "check", *how, "--format", format, "--interpreters", "2", *arguments],
                              env=dict(target.env(), **(env or {})), cwd=cwd, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, preexec_fn=preexec)
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.modules = {m["name"]: m for m in json.loads(self.out)["modules"]} if format == "json" and self.out else {}

    def one(self):
        (module,) = self.modules.values()
        return module


def outcomes(module):
    return {step["name"]: step["outcome"] for step in module["steps"]}


def own(target, otherwise="legacy"):
    """The best verdict: own-GIL safe, for releases with own-GIL interpreters."""
    return "own-gil" if target.hexversion >= (3, 12) else otherwise
