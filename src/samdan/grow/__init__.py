"""Growing a base: models and tokenizers written anew, tensor by tensor."""
