fn main(){latent_kernels::probe::go()}
