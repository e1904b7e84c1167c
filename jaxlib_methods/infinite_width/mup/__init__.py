"""The maximal update parametrization of real models: tune narrow, train wide."""
