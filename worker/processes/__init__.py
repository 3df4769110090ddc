"""The processes that stay: worker, beat, webhook, Flower; and the objects that they run on."""
