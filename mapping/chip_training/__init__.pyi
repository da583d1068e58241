from .analog_training import TrainableNetwork as TrainableNetwork, trainable_network as trainable_network
