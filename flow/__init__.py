"""The search for bits: environment, agents, trials, pipeline, command line.

Importing it registers the Gymnasium environment `flow/Bitwidth-v0` (`flow.env.BitwidthEnv`).
"""

from gymnasium.envs.registration import register

register("flow/Bitwidth-v0", entry_point="flow.env:BitwidthEnv")
