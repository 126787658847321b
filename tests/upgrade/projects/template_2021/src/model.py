import pytorch_lightning as pl


class SpeechModel(pl.LightningModule):
    def __init__(self, lr, accuracy):
        super().__init__()
        self.accuracy = accuracy

    def training_step(self, batch, batch_idx):
        return self.step(batch)
