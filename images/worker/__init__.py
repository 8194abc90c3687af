"""The program that a container's interpreter runs before, and around, the user's program.

It is started once by the warden, imports libraries while the container is parked, takes one job
over descriptor 3 and executes it in this very process. Only the standard library is used, and as
little of it as possible before the container counts as up.

Inside a container the package is called `_oneshot`, so that no module of a program or of a library
can clash with its modules.
"""
