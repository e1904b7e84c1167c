"""Networks of infinite width that learn features, as models that train."""
