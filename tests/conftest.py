"""How hard Hypothesis tries, by ``HYPOTHESIS_PROFILE``: dev (the default), ci (`make test`) or deep (`make deep`)."""

import os

from hypothesis import HealthCheck, settings

# A loaded machine is no defect of an example, so neither a deadline nor a slow generator fails a test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)

settings.register_profile("dev", UNHURRIED, max_examples=25)
settings.register_profile("ci", UNHURRIED, max_examples=70)
settings.register_profile("deep", UNHURRIED, max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
