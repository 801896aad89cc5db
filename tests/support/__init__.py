"""What tests share: servers, builders, clocks."""
