import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Where a running `latent serve` is, for `npm run dev`.
const server = process.env.LATENT ?? 'http://127.0.0.1:7901';
const proxied = {
  target: server,
  changeOrigin: true,
  // The service takes requests of its own origin alone.
  headers: { origin: server },
};

export default defineConfig({
  plugins: [svelte()],
  server: {
    port: 7902,
    proxy: Object.fromEntries(
      ['/api', '/docs', '/login', '/logout', '/openapi.json', '/metrics', '/style.css'].map((path) => [path, proxied]),
    ),
  },
  build: {
    target: 'es2022',
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    // Three files with fixed names, so that they can be committed and embedded.
    rolldownOptions: {
      output: {
        entryFileNames: 'app.js',
        assetFileNames: 'app.[ext]',
        codeSplitting: false,
      },
    },
  },
});
