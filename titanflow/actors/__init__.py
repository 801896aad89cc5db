"""The processes of TitanFlow: a mailbox, a bit of state, a decision. docs/architecture.md shows the tree."""
