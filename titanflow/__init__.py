"""TitanFlow: WhatsApp marketing campaigns through Meta's Cloud API, every message followed to its end."""

__version__ = "0.1.0"
