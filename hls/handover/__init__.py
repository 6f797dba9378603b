"""Runs FINN's steps for a board from a prepared checkpoint; on its own, without the rest of bitloop.

This package is used where bitloop runs and is copied whole into every hand-over package, where `./build.sh` starts it
(`python -m handover`). It needs the standard library and, for the steps themselves, the finn-plus named in `plan.json`;
so nothing in here imports anything else of bitloop.
"""
