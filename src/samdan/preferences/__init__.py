"""What votes on pairs of answers say: who is preferred, how sure that is, and which biases show."""
