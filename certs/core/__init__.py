"""What a certificate may say, and what is to be done when: pure, without keys and clocks."""
