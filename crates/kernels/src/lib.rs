//! Compute on slices for CPUs.
mod cpu;
mod simd;
pub use cpu::{Cpu, Level};
mod buffer;
mod pool;
mod tile;
#[doc(hidden)]
pub mod probe {
    use crate::{cpu::Cpu, simd::*, tile::tile, buffer::Buffer};
    use half::bf16;
    struct P<T>{a:*const T,b:*const T,steps:usize,reps:usize}
    impl Kernel for P<bf16>{ type Out=f32;
        #[inline(always)]
        unsafe fn run<I:Simd,const MR:usize,const NV:usize>(self)->f32{
            let mut s=0.0;
            for _ in 0..self.reps { let mut acc=[[I::splat(0.0);NV];MR];
              let a:[*const bf16;MR]=std::array::from_fn(|i| self.a.add(i*self.steps*2));
              tile::<I,bf16,MR,NV>(self.steps,&a,self.b,&mut acc);
              for i in 0..MR{for j in 0..NV{ s+=I::sum(acc[i][j]);}}
            } s } }
    impl Kernel for P<f32>{ type Out=f32;
        #[inline(always)]
        unsafe fn run<I:Simd,const MR:usize,const NV:usize>(self)->f32{
            let mut s=0.0;
            for _ in 0..self.reps { let mut acc=[[I::splat(0.0);NV];MR];
              let a:[*const f32;MR]=std::array::from_fn(|i| self.a.add(i*self.steps));
              tile::<I,f32,MR,NV>(self.steps,&a,self.b,&mut acc);
              for i in 0..MR{for j in 0..NV{ s+=I::sum(acc[i][j]);}}
            } s } }
    pub fn go(){
        for steps in [160usize,640,1280]{
        let a=Buffer::<bf16>::zeros(6*steps*2); let b=Buffer::<bf16>::zeros(steps*64*2);
        for cpu in Cpu::every(){
            let (mr,nr)=match cpu.level(){crate::Level::Portable=>(4,8),crate::Level::Avx2=>(6,16),_=>(6,64)};
            let t=std::time::Instant::now(); let reps=100_000_000/(steps*nr);
            run(cpu,P::<bf16>{a:a.as_ptr(),b:b.as_ptr(),steps,reps});
            let d=t.elapsed().as_secs_f64(); println!("{steps} {:?} bf16 {:.1}",cpu.level(),(reps*steps*2*mr*nr*2) as f64/d/1e9);
        let a=Buffer::<f32>::zeros(6*steps); let b=Buffer::<f32>::zeros(steps*64);
            let t=std::time::Instant::now();
            run(cpu,P::<f32>{a:a.as_ptr(),b:b.as_ptr(),steps,reps});
            let d=t.elapsed().as_secs_f64(); println!("{steps} {:?} f32 {:.1}",cpu.level(),(reps*steps*mr*nr*2) as f64/d/1e9);
        }}
    }
}
