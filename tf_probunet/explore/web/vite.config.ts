// Builds into build/, from where pack.py puts it, compressed, into ../static. Names are fixed: the server caches nothing.
import {defineConfig} from 'vite';

export default defineConfig({
  base: './',
  build: {
    outDir: 'build', emptyOutDir: true, target: 'es2022', modulePreload: false, assetsInlineLimit: 0,
    rollupOptions: {output: {entryFileNames: 'app.js', assetFileNames: '[name][extname]', chunkFileNames: '[name].js'}},
  },
  // A classic worker, because LiteRT.js loads its WASM by importScripts.
  worker: {format: 'iife', rollupOptions: {output: {entryFileNames: 'worker.js'}}},
  test: {include: ['test/**/*.test.ts']},
} as never);
