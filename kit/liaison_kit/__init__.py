"""The ground that a Liaison service stands on."""

import warnings

# eventlet asks new projects not to pick it; nameko stands on it (docs/decisions/eventlet.md).
warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")
