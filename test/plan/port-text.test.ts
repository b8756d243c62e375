/**
 * Host ports as text and as keys.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { portKey, portText, span } from '../../plan/ports/port-text.ts';

test('ports are written with their range, their protocol, and their address where they have one', () => {
  assert.equal([span(8080, 1), span(8080, 2), span(8080, 10)], ['8080', '8080-8081', '8080-8089']);
  assert.is(portText('tcp', '', 8080), '8080/tcp');
  assert.is(portText('udp', '127.0.0.1', 8080, 10), '127.0.0.1:8080-8089/udp');
  assert.is(portText('tcp', '::1', 8080), '[::1]:8080/tcp');
});

test('keys distinguish protocol, address and port', () => {
  const keys = [portKey('tcp', '', 80), portKey('udp', '', 80), portKey('tcp', '::', 80), portKey('tcp', '', 81)];
  assert.is(new Set(keys).size, 4);
});

test.run();
