// The names carry no hash: the server names the files after their content (worker/src/page/assets.rs), so that a renewal
// changes files here and never renames them.
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  publicDir: 'public',
  build: {
    outDir: 'dist',
    target: 'es2022',
    sourcemap: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      input: 'index.html',
      output: {
        entryFileNames: 'assets/page.js',
        chunkFileNames: 'assets/page.js',
        assetFileNames: 'assets/page[extname]',
      },
    },
  },
});
