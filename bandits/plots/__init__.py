"""How is it drawn?  `style` the look of all, `curves` quantities along training, `simplex` three arms."""
