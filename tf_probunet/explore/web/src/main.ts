/** Begins: connects the page's parts, the keyboard and the explorer. */

import {getSession} from './api';
import {byId} from './dom';
import {Explorer, words} from './explorer';
import {connect} from './controls';
import {expose} from './hook';
import {Page} from './screen';
import type {Backend} from './protocol';

async function begin(): Promise<void> {
  const page = new Page();
  try {
    const facts = await getSession(), asked = new URLSearchParams(location.search);
    const backend = asked.get('backend');
    page.explorer = new Explorer(facts, page, backend === 'wasm' || backend === 'webgpu' ? backend as Backend : null);
    page.start();
    connect(page, page.explorer);
    expose(page, page.explorer);
    const first = Number(asked.get('image') ?? 1) - 1;
    await page.explorer.open(Number.isInteger(first) && first >= 0 && first < facts.num_images ? first : 0);
  } catch (error) {
    byId('name').textContent = 'Nothing to show';
    page.showMessage(words(error), () => location.reload());
  }
}

void begin();
