import { BUSYBOX_BOOTS, testForeignBoots } from '../../helpers/foreign/foreign-boots.ts';

testForeignBoots(BUSYBOX_BOOTS);
