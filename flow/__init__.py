"""The search for bits: environment, agents, trials, pipeline, command line.

Importing it registers the Gymnasium environments `flow/Bitwidth-v0` (`flow.env.BitwidthEnv`) and
`flow/TabularBitwidth-v0` (`flow.tabular.TabularBitwidthEnv`).
"""

from gymnasium.envs.registration import register

register("flow/Bitwidth-v0", entry_point="flow.env:BitwidthEnv")
register("flow/TabularBitwidth-v0", entry_point="flow.tabular:TabularBitwidthEnv")
