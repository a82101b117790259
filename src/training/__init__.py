"""Training: all epochs of one network, from a `Job` to the best weights on val.

Enters: a `Job` (network, loss, data, validation, settings). Leaves: the weights of the best epoch, a row
of the learning curves per epoch; until it finishes, a state from which a killed training resumes. To
touch: `step` is the loop and knows no feature by name; a feature is a hook or a penalty that `prepare`
adds. To read: settings, assembly (from settings to a `Job`), fit (all epochs), prepare, step. `features`
and `probe` make one Job of another; `rehearsal` builds all trainings of a run before the first one starts.
"""
