"""Pictures in one house style: `style` the look, `curves` quantities along training, `simplex` three arms."""
