from pytorch_lightning import LightningModule
from torchmetrics import F1Score, MetricCollection


class Multimodal(LightningModule):
    def __init__(self, num_classes):
        super().__init__()
        scores = MetricCollection([F1Score(num_classes=num_classes, average="macro")])
        self.val_scores = scores.clone(prefix="val_")

    def validation_step(self, batch, batch_idx):
        loss, predicted, label = self.step(batch)
        self.log_dict(self.val_scores(predicted, label), on_epoch=True)
        return {"loss": loss, "predicted": predicted, "label": label}

    def validation_epoch_end(self, outputs):
        self.log("val_loss", sum(one["loss"] for one in outputs) / len(outputs))
