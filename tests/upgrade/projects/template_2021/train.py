import hydra
from pytorch_lightning import seed_everything


@hydra.main(config_path="configs/", config_name="train.yaml")
def main(config):
    seed_everything(config.seed)
    callbacks = [hydra.utils.instantiate(one) for one in config.callbacks.values()]
    trainer = hydra.utils.instantiate(config.trainer, callbacks=callbacks, _convert_="partial")
    trainer.fit(hydra.utils.instantiate(config.model))


if __name__ == "__main__":
    main()
