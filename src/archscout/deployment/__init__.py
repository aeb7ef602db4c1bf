"""Networks outside archscout: the card that says what one does, and the network with its preprocessing inside."""
