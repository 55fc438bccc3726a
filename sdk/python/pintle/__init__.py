"""What authors of pintle plugins import: a base class for each world, the types it speaks, and a harness to test it in CPython.

`pintle.scheduler`, `pintle.controller` and `pintle.ingress` hold the base classes; `pintle.testing` stands in for the host.
A project's `policy.py` has a class `Policy` that inherits from one of them; `pintle plugin build` makes the component.

Modules are imported when the component is built, not when it runs: import at the top of a file, never inside a function. There
are no files, no sockets and no clock in a component; time and randomness come from `pintle.env`.
"""
