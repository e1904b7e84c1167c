"""What every public function promises: one line each, in modules by group or method, checked by `test_contracts.py`.

A case is a call and its arguments as numpy arrays of float64; a check casts, stacks, perturbs or shards them.
Options that are not arrays are fixed in the call. `HOST` names functions that work on the host, on files or on meshes,
or that build something: only their writing is checked.
"""

import importlib
import pkgutil

_NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "case")
_MODULES = [importlib.import_module(f"contract_cases.{name}") for name in _NAMES]
CASES = {name: case for module in _MODULES for name, case in module.CASES.items()}
HOST = {name for module in _MODULES for name in module.HOST}
