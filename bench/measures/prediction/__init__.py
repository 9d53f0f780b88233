"""Does the distance on text predict what is lost in tasks? It measures nothing: it sets what two other measures have found beside each other."""
